"""From checked examples to an exported model: split, fit, evaluate, gate, export."""
