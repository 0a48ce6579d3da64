"""Status page: static HTML, CSS and JavaScript that show `/boot.json`."""
