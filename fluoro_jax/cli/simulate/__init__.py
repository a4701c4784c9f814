"""`fluoro simulate`: labelled clips of simulated patients, in any number."""
