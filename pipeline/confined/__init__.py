"""The program that the sandbox runs in a child process to open untrusted recordings."""
