#!/bin/sh
# Installs the Debian packages that the tests' real components come from, where the user may (root, or sudo without a
# password); otherwise says what is missing. It never fails for that: a test that lacks its component names it.
# usage: tools/debian-packages.sh [test] [v4l2]     FRAMELOOM_APT=no: only say what is missing
set -u

test_packages="ffmpeg vlc-bin vlc-plugin-base chromium postgresql
  gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 python3-gi
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
  gstreamer1.0-libav"
v4l2_packages="qemu-system-x86 linux-image-amd64 busybox-static"

wanted=""
for group in "$@"; do
  case $group in
    test) wanted="$wanted $test_packages" ;;
    v4l2) wanted="$wanted $v4l2_packages" ;;
    *) echo "$0: unknown group '$group' (test, v4l2)" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "Not a Debian system: the tests want what Debian calls" $wanted >&2
  exit 0
fi

missing=""
for package in $wanted; do
  # shellcheck disable=SC2016  # dpkg-query's own format, not the shell's
  status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) || status=""
  [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "${FRAMELOOM_APT:-yes}" = no ]; then
  become=none
elif [ "$(id -u)" -eq 0 ]; then
  become=""
elif sudo -n true 2>/dev/null; then
  become="sudo -n"
else
  become=none
fi
if [ "$become" = none ]; then
  echo "Missing Debian packages, some tests will be skipped. To install them: sudo apt-get install$missing" >&2
  exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
install_packages() {
  # shellcheck disable=SC2086  # a list of words
  $become env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o DPkg::Lock::Timeout=300 $missing >"$log" 2>&1 </dev/null
}

echo "Installing Debian packages:$missing ..."
if ! install_packages; then
  $become apt-get update -q >"$log" 2>&1 </dev/null
  if ! install_packages; then
    tail -n 5 "$log" >&2
    echo "Could not install the Debian packages; some tests will be skipped." >&2
  fi
fi
exit 0
