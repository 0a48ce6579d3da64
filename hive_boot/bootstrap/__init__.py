"""Where the two wings meet: the declaration of an application, and its runs."""
