"""A case for every opcode that computes: inputs, and what PTX says of them in plain Python."""
