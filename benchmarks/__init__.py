"""What fuseline is measured with. Nothing here is part of the installed package."""

import os

# As in fuseline itself: other engines here load onnxruntime too, some in processes of their own without fuseline.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
