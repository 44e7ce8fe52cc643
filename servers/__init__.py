"""What is studied: server designs in C, and the door through which Python builds and runs them."""
