"""What both services put around their routes: guards of browsers and connections, and headers of every answer."""
