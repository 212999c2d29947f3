"""What must be measured once for a camera: its lens, its delay to the microphone, its gyro."""
