"""The room of secrecy: it knows the values that must not be shown, and takes them out of text."""
