"""Who is asked: models of this machine, other local servers, and remote ones that the owner's configuration names."""
