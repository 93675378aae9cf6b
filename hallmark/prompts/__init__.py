"""Prompts as sealed folders: messages with typed variables, the JSON Schema of the answer, examples, a golden set; read, checked, sealed, compared."""
