"""What was asked and answered, sent on as CloudEvents; knows no model."""
