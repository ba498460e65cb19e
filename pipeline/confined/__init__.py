"""The program of the sandbox's child process, which opens untrusted recordings."""
