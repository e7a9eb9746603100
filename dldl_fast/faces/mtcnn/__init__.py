"""MTCNN: three small convolutional networks that find faces and five landmarks in each."""
