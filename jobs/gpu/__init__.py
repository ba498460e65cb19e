"""Commands that measure this machine's GPU, and use it for minutes of training."""
