"""The programs of docs/frameworks.md, each with its library; `make test-frameworks` runs them."""
