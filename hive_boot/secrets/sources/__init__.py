"""Sources: `.env` files, single files and mounted directories."""
