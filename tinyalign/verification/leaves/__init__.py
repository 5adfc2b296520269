"""The leaf kinds of a standard argument; importing this package registers them."""
