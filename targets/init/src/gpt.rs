//! GUID partition tables (UEFI 2.10, chapter 5.3): built for an image, and extended on the device.

/// Bytes of a block. Images are for cards and disks that show blocks of this size.
pub const BLOCK: usize = 512;
/// Partitions of a table.
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;
const HEADER_BYTES: usize = 92;
/// Blocks of a table: the header, and the entries behind or before it.
pub const TABLE_BLOCKS: u64 = 1 + (ENTRIES * ENTRY_BYTES / BLOCK) as u64;
/// The first block of a table at the start of a disk; block 0 is the master boot record's.
pub const PRIMARY: u64 = 1;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;

/// A GUID in its bytes on disk.
pub type Guid = [u8; 16];

/// Kinds of partitions.
pub mod kind {
    use super::{Guid, guid};

    pub const EFI_SYSTEM: Guid = guid(0xC12A_7328_F81F_11D2_BA4B_00A0_C93E_C93B);
    pub const BASIC_DATA: Guid = guid(0xEBD0_A0A2_B9E5_4433_87C0_68B6_B726_99C7);
    pub const LINUX: Guid = guid(0x0FC6_3DAF_8483_4772_8E79_3D69_D847_7DE4);
}

/// Returns the bytes on disk of a GUID that is read as one number, as it is written.
pub const fn guid(written: u128) -> Guid {
    let mut bytes = written.to_be_bytes();
    // The first three groups are little-endian.
    (bytes[0], bytes[3]) = (bytes[3], bytes[0]);
    (bytes[1], bytes[2]) = (bytes[2], bytes[1]);
    (bytes[4], bytes[5]) = (bytes[5], bytes[4]);
    (bytes[6], bytes[7]) = (bytes[7], bytes[6]);
    bytes
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub kind: Guid,
    pub id: Guid,
    pub name: String,
    pub first_block: u64,
    pub last_block: u64,
}

/// A table of a disk with this many blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub disk: Guid,
    pub blocks: u64,
    pub partitions: Vec<Partition>,
}

/// Reason why a table cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// There is no header, or only a part of one.
    NoHeader,
    /// The checksum of the header or of the entries is wrong.
    Checksum,
    /// The table has another shape than those that are written here.
    Shape,
}

impl Table {
    /// Returns the last block that a partition may have.
    pub fn last_usable(&self) -> u64 {
        self.blocks - TABLE_BLOCKS - 1
    }

    /// Returns the first block of the copy at the end.
    pub fn backup(&self) -> u64 {
        self.blocks - TABLE_BLOCKS
    }

    /// Returns block 0, which tells systems without GPT that the disk is in use. With `hybrid`, the
    /// partition of that number is in it too, for firmware that reads nothing else.
    pub fn master_boot_record(&self, hybrid: Option<usize>) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut at = 446;
        let mut add = |boot: u8, kind: u8, first: u64, blocks: u64| {
            let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
            let row = &mut block[at..at + 16];
            row[..8].copy_from_slice(&[boot, 0xFE, 0xFF, 0xFF, kind, 0xFE, 0xFF, 0xFF]);
            row[8..12].copy_from_slice(&(first as u32).to_le_bytes());
            row[12..].copy_from_slice(&blocks.to_le_bytes());
            at += 16;
        };
        match hybrid.and_then(|number| self.partitions.get(number)) {
            Some(boot) => {
                let blocks = boot.last_block - boot.first_block + 1;
                add(0x80, 0x0C, boot.first_block, blocks);
                add(0, 0xEE, 1, boot.first_block - 1);
            }
            None => add(0, 0xEE, 1, self.blocks - 1),
        }
        block[510..].copy_from_slice(&[0x55, 0xAA]);
        block
    }

    /// Returns the blocks from [`PRIMARY`] on.
    pub fn primary(&self) -> Vec<u8> {
        let entries = self.entries();
        let mut blocks = self.header(PRIMARY, self.blocks - 1, PRIMARY + 1, &entries);
        blocks.extend(entries);
        blocks
    }

    /// Returns the blocks from [`Self::backup`] on.
    pub fn secondary(&self) -> Vec<u8> {
        let mut blocks = self.entries();
        let header = self.header(self.blocks - 1, PRIMARY, self.backup(), &blocks);
        blocks.extend(header);
        blocks
    }

    fn entries(&self) -> Vec<u8> {
        let mut bytes = vec![0; ENTRIES * ENTRY_BYTES];
        for (entry, partition) in bytes.chunks_exact_mut(ENTRY_BYTES).zip(&self.partitions) {
            entry[..16].copy_from_slice(&partition.kind);
            entry[16..32].copy_from_slice(&partition.id);
            entry[32..40].copy_from_slice(&partition.first_block.to_le_bytes());
            entry[40..48].copy_from_slice(&partition.last_block.to_le_bytes());
            let name = partition.name.encode_utf16().take(36);
            for (place, unit) in entry[56..].chunks_exact_mut(2).zip(name) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
        }
        bytes
    }

    fn header(&self, own: u64, other: u64, entries_at: u64, entries: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(BLOCK);
        header.extend(SIGNATURE);
        header.extend(REVISION.to_le_bytes());
        header.extend((HEADER_BYTES as u32).to_le_bytes());
        header.extend([0; 8]);
        for block in [own, other, PRIMARY + TABLE_BLOCKS, self.last_usable()] {
            header.extend(block.to_le_bytes());
        }
        header.extend(self.disk);
        header.extend(entries_at.to_le_bytes());
        header.extend((ENTRIES as u32).to_le_bytes());
        header.extend((ENTRY_BYTES as u32).to_le_bytes());
        header.extend(crc32(entries).to_le_bytes());
        let checksum = crc32(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.resize(BLOCK, 0);
        header
    }

    /// Reads the blocks from [`PRIMARY`] on.
    ///
    /// # Errors
    /// They are not a table as it is written here.
    pub fn read(blocks: &[u8]) -> Result<Self, Invalid> {
        let header = blocks.get(..HEADER_BYTES).ok_or(Invalid::NoHeader)?;
        if !header.starts_with(SIGNATURE) {
            return Err(Invalid::NoHeader);
        }
        let mut blank = header.to_vec();
        blank[16..20].fill(0);
        if crc32(&blank).to_le_bytes() != header[16..20] {
            return Err(Invalid::Checksum);
        }
        let shape = [
            (72, PRIMARY + 1),
            (80, (ENTRIES | ENTRY_BYTES << 32) as u64),
        ];
        if shape
            .iter()
            .any(|(at, value)| number(header, *at) != *value)
        {
            return Err(Invalid::Shape);
        }
        let entries = blocks.get(BLOCK..BLOCK + ENTRIES * ENTRY_BYTES);
        let entries = entries.ok_or(Invalid::NoHeader)?;
        if crc32(entries).to_le_bytes() != header[88..92] {
            return Err(Invalid::Checksum);
        }
        let used = entries
            .chunks_exact(ENTRY_BYTES)
            .filter(|entry| entry[..16] != [0; 16]);
        Ok(Self {
            disk: guid_at(header, 56),
            blocks: number(header, 32).checked_add(1).ok_or(Invalid::Shape)?,
            partitions: used.map(Partition::read).collect(),
        })
    }

    /// Returns the table for a disk of `blocks`, whose last partition has all that is left. `None`
    /// if there is nothing to extend.
    pub fn extended(&self, blocks: u64) -> Option<Self> {
        let mut extended = Self {
            blocks,
            ..self.clone()
        };
        let usable = blocks.checked_sub(TABLE_BLOCKS + 1)?;
        let last = extended.partitions.last_mut()?;
        // Whole MiB: the file system has blocks of 4 KiB, and cards like their own larger ones.
        let end = (usable + 1) / 2048 * 2048 - 1;
        if end <= last.last_block {
            return None;
        }
        last.last_block = end;
        Some(extended)
    }
}

impl Partition {
    fn read(entry: &[u8]) -> Self {
        let units = entry[56..].chunks_exact(2);
        let units = units.map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        Self {
            kind: guid_at(entry, 0),
            id: guid_at(entry, 16),
            name: String::from_utf16_lossy(&units),
            first_block: number(entry, 32),
            last_block: number(entry, 40),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

fn guid_at(bytes: &[u8], at: usize) -> Guid {
    let mut guid = [0; 16];
    guid.copy_from_slice(&bytes[at..at + 16]);
    guid
}

/// The CRC of GPT, of zlib and of U-Boot's images.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let partition = |name: &str, first_block, last_block| Partition {
            kind: kind::LINUX,
            id: guid(7),
            name: name.to_owned(),
            first_block,
            last_block,
        };
        Table {
            disk: guid(1),
            blocks: 20_480,
            partitions: vec![partition("boot", 2048, 4095), partition("data", 4096, 8191)],
        }
    }

    #[test]
    fn guids_and_checksums_are_those_of_the_specification() {
        let bytes = [0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11];
        assert_eq!(kind::EFI_SYSTEM[..8], bytes);
        assert_eq!(kind::EFI_SYSTEM[8..10], [0xBA, 0x4B]);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        assert_eq!(Table::read(&table().primary()), Ok(table()));
        assert_eq!(table().secondary().len() as u64, TABLE_BLOCKS * 512);
        assert_eq!(Table::read(&[0; 512]), Err(Invalid::NoHeader));
        assert_eq!(
            Table::read(&table().primary()[..600]),
            Err(Invalid::NoHeader)
        );
    }

    #[test]
    fn a_torn_table_is_not_taken_for_one() {
        let (old, new) = (
            table().primary(),
            table().extended(40_960).unwrap().primary(),
        );
        for torn_at in (BLOCK..new.len()).step_by(BLOCK) {
            let torn = [&new[..torn_at], &old[torn_at..]].concat();
            let whole = torn == new;
            assert_eq!(Table::read(&torn).is_ok(), whole, "torn at {torn_at}");
        }
    }

    #[test]
    fn the_last_partition_is_extended_to_the_end() {
        let extended = table().extended(40_960).unwrap();
        assert_eq!(extended.partitions[0], table().partitions[0]);
        assert_eq!(extended.partitions[1].first_block, 4096);
        assert_eq!(extended.partitions[1].last_block, 38_911);
        assert!(extended.partitions[1].last_block <= extended.last_usable());
        assert_eq!(extended.extended(40_960), None);
        assert_eq!(table().extended(4096), None);
    }

    #[test]
    fn a_hybrid_record_shows_the_boot_partition_to_old_firmware() {
        let block = table().master_boot_record(Some(0));
        assert_eq!((block[446], block[450], block[466]), (0x80, 0x0C, 0xEE));
        assert_eq!(block[454..458], 2048u32.to_le_bytes());
        let plain = table().master_boot_record(None);
        assert_eq!((plain[450], plain[510], plain[511]), (0xEE, 0x55, 0xAA));
    }
}
