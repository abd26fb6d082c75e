"""Every message that crosses a port, as pydantic models, and the table of OSC addresses with its sender."""
