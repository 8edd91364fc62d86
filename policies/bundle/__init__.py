"""The Rego sources, as package data: for whoever runs the OPA server from an installed wheel."""
