"""What a domain costs in house and on managed endpoints, at which traffic that turns round, and what moves it."""
