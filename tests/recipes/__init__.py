"""The recipes of docs/recipes.md against real servers, through ten rotations under load."""
