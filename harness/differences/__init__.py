"""What two paths or two releases do differently on purpose: data, and the shapes it is made of."""
