"""What a picture is worth: each metric a pure function, and where it can be, an accumulator that takes rows."""
