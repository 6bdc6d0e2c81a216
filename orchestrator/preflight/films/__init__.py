"""What a film's own index says of it: whether it is whole, and how it was made. No picture is decoded."""
