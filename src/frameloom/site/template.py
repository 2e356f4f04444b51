"""The sample `site.yaml` that a new site begins with. It says little, and shows what else could be said."""

SITE_TEMPLATE = """\
# site.yaml: what runs here. Every key is described in docs/site-yaml.md; `frameloom check` reads this file and says
# what is wrong with it. Changes take effect when the file is saved: nothing restarts but what changed.

site: default

server:
  host: 127.0.0.1   # this machine only; 0.0.0.0 is for other machines, too: one has to log in then
  port: 8080

cameras:
  # A name of your choice, and where its pictures come from: a film here, beside this file.
  film:
    url: film.mp4
    loop: true

  # A network camera. ${...} comes from the environment, so that no password stands here.
  # yard:
  #   url: rtsp://192.168.1.20/stream1
  #   username: ${YARD_USER:-admin}
  #   password: ${YARD_PASSWORD}
  #   transport: udp      # tcp (default) or udp
  #   enabled: false      # known, and not started

  # A webcam; `frameloom devices` lists what it can do.
  # desk: {url: /dev/video0, format: mjpeg, width: 1280, height: 720, fps: 30}

processors:
  # Code that looks at the frames of one stream, in a process of its own.
  film-motion:
    use: motion           # built in; your own is package.module:Class or path/to/file.py:Class
    stream: film
    params:
      threshold: 25       # changed while it runs: in the browser, by `frameloom set`, or here
    policy: latest        # every: no frame is left out

# Recordings, and more pictures for people (each camera has one already).
# sinks:
#   film-rec: {kind: record, stream: film, keep_days: 14, keep_bytes: 50GB}
#   film-small: {kind: view, stream: film, quality: 60, max_width: 320}

# When a worker counts as dead, hung or hopeless.
# limits: {hang_s: 30, failures: 5}
"""
