#!/usr/bin/env perl
# Writes small sets of digits in MNIST's form, to try a training without a download:
#
#     perl examples/digits/segments.pl TRAIN TEST
#
# TRAIN and TEST are numbers of pictures. Each shows a digit of a seven-segment display, 28 x 28 pixels,
# moved at random and noisy. The same numbers give the same files.
use strict;
use warnings;

# Of each digit, the segments that are lit: bit i for the segment i of the list below it.
my @lit = (0x77, 0x24, 0x5d, 0x6d, 0x2e, 0x6b, 0x7b, 0x25, 0x7f, 0x6f);
# Column, row, width and height of each segment.
my @segments = ([2, 0, 8, 1], [0, 2, 1, 8], [10, 2, 1, 8], [2, 10, 8, 1],
                [0, 12, 1, 8], [10, 12, 1, 8], [2, 20, 8, 1]);

# Perl's own random numbers differ between versions: these are of a linear congruence.
my $state = 7;
sub below {
  $state = ($state * 1103515245 + 12345) % 2147483648;
  return int($state / 65536) % $_[0];
}

die "usage: segments.pl TRAIN TEST\n" unless @ARGV == 2;
for (["train", $ARGV[0]], ["test", $ARGV[1]]) {
  my ($name, $count) = @$_;
  open(my $images, ">:raw", "$name-images-idx3-ubyte") or die "$name: $!\n";
  open(my $labels, ">:raw", "$name-labels-idx1-ubyte") or die "$name: $!\n";
  print $images pack("N4", 0x803, $count, 28, 28);
  print $labels pack("N2", 0x801, $count);
  for my $i (0 .. $count - 1) {
    my $digit = $i % 10;
    my @pixels = map { below(60) } 1 .. 784;
    my ($right, $down) = (below(14), below(5));
    for my $segment (grep { $lit[$digit] >> $_ & 1 } 0 .. 6) {
      my ($col, $row, $width, $height) = @{$segments[$segment]};
      for my $y ($row .. $row + $height + 1) {
        $pixels[28 * ($y + $down) + $_ + $right] = 160 + below(90) for $col .. $col + $width + 1;
      }
    }
    print $images pack("C784", @pixels);
    print $labels pack("C", $digit);
  }
}
