"""`fluoro simulate`: labelled films of people who do not exist, in any number."""
