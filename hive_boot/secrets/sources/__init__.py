"""Where secrets come from: each source says what it found, and judges nothing."""
