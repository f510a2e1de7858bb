"""What a suite reaches of the model, the language and its arguments."""
