"""The command line: the module of a command parses options, calls the library and prints."""
