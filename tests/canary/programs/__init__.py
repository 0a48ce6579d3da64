"""Programs that do with secrets what people do by accident; tests run them as processes."""
