"""What the doctor looks at, each on files and processes as they really are."""
