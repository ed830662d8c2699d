"""The dialects in which other servers are asked, a file each. docs/formats/remote-contestants.md has their sources."""
