"""The command line: one function for each command, and the tables that commands print."""
