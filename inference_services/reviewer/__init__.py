"""The service that asks a vision-language model by a sealed prompt, and answers only what its schema and its evidence hold."""
