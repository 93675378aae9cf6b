"""Cost of a domain in house and on managed endpoints, the traffic at which they are equal, and what changes it."""
