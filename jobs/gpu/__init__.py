"""Commands that measure this machine's GPU and use it for a few minutes of training."""
