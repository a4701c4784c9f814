"""Commands: flags only; the work lives in the package."""
