"""A local page in the browser: a photo in; faces with value, distribution and score map out."""
