"""The bundled demo: a recipe and small subsets of SNIPS and BANKING77 (terms in data/README.md)."""
