"""What tests of applications and of adapters are made with; shipped, public."""
