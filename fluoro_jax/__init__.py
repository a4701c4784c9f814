"""Find and follow a lung tumour in X-ray fluoroscopy, in JAX.

Research software. Not a medical device.
"""

__version__ = "0.1.0"
