# Runs server.rb by the Ruby that is unpacked in root/: its paths are those of an installed one.
root=$PWD/root
libraries=$(echo "$root"/usr/lib/*-linux-gnu*)
export LD_LIBRARY_PATH="$libraries"
export RUBYLIB="$root/usr/lib/ruby/vendor_ruby:$root/usr/lib/ruby/3.1.0:$libraries/ruby/3.1.0:$libraries/ruby/vendor_ruby/3.1.0"
export GEM_PATH="$root/usr/share/rubygems-integration/all:$root/usr/share/rubygems-integration/3.1.0:$libraries/rubygems-integration/3.1.0:$root/usr/lib/ruby/gems/3.1.0"
exec root/usr/bin/ruby3.1 server.rb
