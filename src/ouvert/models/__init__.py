"""What each family computes, and which tensor in a file is which. May import arithmetic and weights."""
