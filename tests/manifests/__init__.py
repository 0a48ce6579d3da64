"""What a deployment is made of."""
