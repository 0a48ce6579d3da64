"""What is likely to go wrong later: each examination is a function of a patient."""
