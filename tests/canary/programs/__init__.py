"""Programs that mishandle secrets as applications do by accident; tests run them as processes."""
