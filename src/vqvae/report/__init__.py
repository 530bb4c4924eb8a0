"""What people look at: pictures, plots, the page about a run, and the doctor."""
