"""The program that the sandbox's child process runs to open untrusted recordings."""
