//! One declaration a record: the struct, its reader and its writer.

/// Declares records whose encoding is their fields in order.
macro_rules! records {
    ($( $(#[$meta:meta])* pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )* } )*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name { $( $(#[$field_meta])* pub $field: $type, )* }

        impl $crate::Jute for $name {
            const MIN_BYTES: usize = 0 $( + <$type as $crate::Jute>::MIN_BYTES )*;

            fn read(reader: &mut $crate::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                $( let $field = <$type as $crate::Jute>::read(reader)?; )*
                let _ = &reader;
                Ok(Self { $( $field, )* })
            }

            fn write(&self, out: &mut Vec<u8>) {
                $( <$type as $crate::Jute>::write(&self.$field, out); )*
                let _ = &out;
            }
        }
    )* };
}

pub(crate) use records;
