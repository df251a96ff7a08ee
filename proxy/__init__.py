"""The public face on port 7860, and the keeper of the TorchServe process behind it."""
